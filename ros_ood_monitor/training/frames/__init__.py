"""Which frames a training sees: found, read, dealt to its parts, and changed into pseudo-OOD."""
