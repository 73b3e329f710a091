"""Close views of classic tasks: the crops that small models can see."""
