"""Human review put together: the queue, the evidence that ends it, the page on which people judge."""
