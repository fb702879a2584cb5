"""How the embedded models are made: the world they learn, the training programs, the evaluation."""
