"""The process hako-containerd, mechanism: content, snapshots, images, containers, tasks, leases, events. Others enter by `client`."""
