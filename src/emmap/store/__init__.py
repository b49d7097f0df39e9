"""Keep: Python data in one file, shared by processes and safe against the death of any of them."""
