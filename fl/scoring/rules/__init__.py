"""The scoring rules, one module each: what it computes, what it costs, where it comes from, which properties it lacks."""
