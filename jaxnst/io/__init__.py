"""Pictures, masks, arrays and network weights in files, read and written."""
