"""The process hako-containerd: content, snapshots, images, containers, tasks. Others enter by `client`."""
