"""Online monitors: live outputs judged off the request path, users' signals as scores, and what an alarm does."""
