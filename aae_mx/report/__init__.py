"""What a trained model shows: figures, numbers, and the post's whole set of both."""
