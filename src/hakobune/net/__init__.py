"""Networks without system programs: bridge, veth, addresses, port rules over netlink."""
