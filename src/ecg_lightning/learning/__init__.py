"""How a network learns: recipes, losses, mixup, distillation, optimizers and schedules."""
