"""The live flow's stages, each a plain object; ``labeling.flow`` strings them together."""
