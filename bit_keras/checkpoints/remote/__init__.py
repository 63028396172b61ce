"""Files from elsewhere: addresses, resumed downloads, checks of what arrived."""
