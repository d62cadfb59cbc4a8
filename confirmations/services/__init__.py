"""What is written about confirmations. Each function owns its transaction or joins the caller's; none asks a node."""
