"""The classroom study from which distlab grew: its three criteria, and its times then and now."""
