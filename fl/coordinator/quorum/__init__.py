"""Who signs a header: evaluators in this process, or on machines of their own."""
