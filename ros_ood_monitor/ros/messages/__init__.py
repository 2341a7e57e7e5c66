"""What goes over the wire: messages from and to records, quality of service, releases of rclpy."""
