"""A class of one's own for every place that takes one; ``conf/`` has an option for each."""
