"""Text of any size: scans of whole mappings, at the speed of the memory."""
