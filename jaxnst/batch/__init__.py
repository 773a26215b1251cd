"""Many pictures on disk: which jobs there are, what is done of them, and the engine that runs them."""
