"""How versions reach servers: the ports of publishers and subscribers, and the files between them."""
