"""The keypoint schema, labelled data sets, keypoint models, fine-tuning and metrics."""
