"""What was asked: the options, the experiment that they make up, what ranks are told."""
