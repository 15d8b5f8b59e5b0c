"""The protocols that clients speak: OpenAI images, Open Inference Protocol, MLflow scoring."""
