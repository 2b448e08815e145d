"""What the manager says about itself."""
