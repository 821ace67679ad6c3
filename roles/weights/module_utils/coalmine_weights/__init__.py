"""What coalmine_weights does: its errand, where it goes to and where it fetches from."""
