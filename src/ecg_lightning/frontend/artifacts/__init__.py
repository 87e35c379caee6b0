"""Disturbances of pictures of paper ECGs, batched and differentiable: what paper, camera, scanner and file do."""
