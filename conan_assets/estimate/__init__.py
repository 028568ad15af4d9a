"""What a programme takes before it runs: rows, bytes, time of a device, memory and requests of every asset."""
