#!/usr/bin/env bash
# Makes this machine, a Debian or Ubuntu that nobody else needs, a Slurm of one node without accounting, with the
# partition and the GPU (no real one) that workflow/profiles/slurm asks for. Run it as root; run again, it starts
# what does not run.
set -euo pipefail
if test -e /etc/slurm/slurm.conf && ! grep -q ClusterName=nacl_monai_tests /etc/slurm/slurm.conf; then
  echo "/etc/slurm/slurm.conf: is of another Slurm; run this on a machine without" >&2
  exit 1
fi
command -v slurmd > /dev/null || apt-get install -y -q slurm-wlm munge
mkdir -p /run/munge /var/spool/nacl_monai_slurm
chown munge /run/munge
# cgroups are not there in a container, memory is not counted, and what is taken back begins again at once.
cat > /etc/slurm/slurm.conf << END
ClusterName=nacl_monai_tests
SlurmctldHost=$(hostname -s)
SlurmUser=root
AuthInfo=cred_expire=5
StateSaveLocation=/var/spool/nacl_monai_slurm/controller
SlurmdSpoolDir=/var/spool/nacl_monai_slurm/node
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
KillWait=5
NodeName=$(hostname -s) CPUs=$(nproc --all) RealMemory=64000 Gres=gpu:1
PartitionName=gpu Nodes=ALL Default=YES
END
printf "AutoDetect=off\nName=gpu File=/dev/null\n" > /etc/slurm/gres.conf
echo "CgroupPlugin=disabled" > /etc/slurm/cgroup.conf
pgrep -x munged > /dev/null || runuser -u munge -- munged
pgrep -x slurmctld > /dev/null || slurmctld
pgrep -x slurmd > /dev/null || slurmd
scontrol update nodename="$(hostname -s)" state=resume 2> /dev/null || true  # down where it was not shut down
sinfo
