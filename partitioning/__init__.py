"""Hash ring, group membership and the router that sends each subcloud to its queue."""
