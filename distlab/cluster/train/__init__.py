"""The second engine: Ray Train places the ranks, starts them again and changes their number.

The driver's side is :mod:`distlab.cluster.train.run`, that of Ray Train's controller
:mod:`distlab.cluster.train.control`, that of a rank :mod:`distlab.cluster.train.rank`; between them
lies :mod:`distlab.cluster.train.mailbox`.
"""
