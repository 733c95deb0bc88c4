"""How a server follows the versions of a model: those of its learner, or those of its shards put together."""
