"""Pictures and pairs over several devices."""
