"""The REST API: everything that people and programs ask of the control plane, over HTTP."""
