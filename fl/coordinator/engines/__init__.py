"""What carries a run's messages to its clients: this process, Ray, or a SuperLink."""
