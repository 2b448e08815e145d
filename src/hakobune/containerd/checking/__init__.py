"""The store looked over: what does not fit together is found, told, and mended where that can be done."""
