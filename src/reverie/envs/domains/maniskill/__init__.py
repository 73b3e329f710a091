"""ManiSkill 3: arms, legs and carts in PhysX, drawn by Vulkan on the CPU."""
