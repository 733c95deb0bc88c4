"""How versions reach servers: the ports of publishers and subscribers, and the files that carry versions between."""
