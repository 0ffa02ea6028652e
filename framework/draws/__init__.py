"""Everything random, as pure functions of seed, epoch, example and stream."""
