//! Generated Debian packages.

/// A package with these fields in its control file and these executable files.
pub fn deb(control: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    deb_with(control, "", files)
}

/// The same with a postinst, unless that is empty.
pub fn deb_with(control: &str, postinst: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut members = vec![("./control", control.as_bytes())];
    if !postinst.is_empty() {
        members.push(("./postinst", postinst.as_bytes()));
    }
    let control = tar(&members);
    let data = tar(files);
    let mut outer = ar::Builder::new(Vec::new());
    for (name, bytes) in [("control.tar", &control), ("data.tar", &data)] {
        let header = ar::Header::new(name.into(), bytes.len() as u64);
        outer.append(&header, bytes.as_slice()).unwrap();
    }
    outer.into_inner().unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}
