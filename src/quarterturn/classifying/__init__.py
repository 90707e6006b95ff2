"""Learning from labels: finetune and predict."""
