"""What a person sees in the terminal: an episode turn by turn, a game being played, the state of this machine."""
