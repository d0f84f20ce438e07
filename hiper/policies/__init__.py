"""Who answers a prompt: the contract, the guide for constrained decoding, the local sampler, the scripted expert."""
