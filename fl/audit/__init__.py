"""A round can be checked: everything that a re-computation needs lies in its bundle, and evaluators sign what they recomputed."""
