//! Profiles by image: its name and its label, as podman's storage tells them.

use crate::kit::{Need, Suite, Verdict, script};

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Landlock,
    Need::Cgroup,
    // What a script loads anew is tried on hosts.
    Need::Processor,
    Need::Program("runc"),
    Need::Program("busybox"),
    Need::Program("podman"),
    Need::Program("conmon"),
    Need::Program("unshare"),
    Need::Program("python3"),
];

pub(crate) fn register(suite: &mut Suite) {
    suite.test(
        "oci::podmans_images_have_profiles_by_name_and_by_label_where_the_host_allows_it",
        NEEDS,
        by_image,
    );
}

const IMAGES: &str = r#"
mkdir -p /etc/ringfence; mount -t tmpfs none /etc/ringfence; mkdir /etc/ringfence/profiles
one() { printf 'version = 1\nextends = ["untrusted"]\n[files]\nread = ["/bin/**"]\nexec = ["/bin/**"]\ndeny = ["/data/%s"]\n' $2 > /etc/ringfence/profiles/$1.toml; }
one kept other; one other kept
mkdir -p root/bin root/data; cp "$(command -v busybox)" root/bin/busybox
for one in sh cat echo; do ln -s busybox root/bin/$one; done
for one in kept other; do echo $one > root/data/$one; done
tar -C root -cf layer.tar .
ln -s "$R" ringfence-runc
printf '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n' > containers.conf
export CONTAINERS_CONF=$PWD/containers.conf
podman_() {
    podman --root $PWD/storage --runroot $PWD/state --tmpdir $PWD/temporary --storage-driver overlay --cgroup-manager cgroupfs \
        --events-backend file --runtime $PWD/ringfence-runc "$@"
}
trap 'podman_ rm --all --force; podman_ rmi --all --force; umount -R $PWD/storage/overlay 2>/dev/null || true' EXIT
podman_ import -c 'LABEL dev.ringfence.profile=kept' layer.tar localhost/rf-labelled:1
says() {
    local image=$1 expected=$2; shift 2
    [ "$(podman_ run --rm --network none "$@" localhost/$image sh -c 'cat /data/kept /data/other 2>/dev/null || true')" = "$expected" ]
}
says rf-labelled:1 $'kept\nother'
echo '[containers]
labels = true' > /etc/ringfence/config.toml
says rf-labelled:1 kept
says rf-labelled:1 other --annotation dev.ringfence.profile=other
echo '[[containers.image]]
name = "localhost/rf-label*"
profile = "other"' >> /etc/ringfence/config.toml
says rf-labelled:1 other
sed -i s/rf-label/rf-name/ /etc/ringfence/config.toml
says rf-labelled:1 kept
sed -i s/true/false/ /etc/ringfence/config.toml
says rf-labelled:1 $'kept\nother'
"#;

fn by_image() -> Verdict {
    script(IMAGES)
}
