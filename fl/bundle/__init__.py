"""The bundle of a round: its files, where they are kept, and how they are fetched."""
