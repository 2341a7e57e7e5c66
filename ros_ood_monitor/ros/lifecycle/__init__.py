"""The lifecycle, made to survive what rclpy does not."""
