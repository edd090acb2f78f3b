"""To look at an agent: how it plays, and what its network has learnt. Pictures and videos; no training."""
