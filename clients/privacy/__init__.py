"""The client's side of a masked round: what it says, what it keeps, and what it will not say."""
