//! The pages of `docs/` say what is true.

use std::path::Path;

use neuropil::check::{catalog, pytorch};

#[test]
fn the_list_of_operations_is_that_of_the_registry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let page = catalog::markdown();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let different = page.lines().zip(written.lines()).find(|(new, old)| new != old);
    assert!(
        page == written,
        "docs/operations.md is not what the registry says; UPDATE_GOLDEN=1 cargo test --test docs writes it\n{different:?}"
    );
}

#[test]
fn every_operation_has_its_name_in_pytorch_or_says_what_it_is_for() {
    let entries = catalog::entries();
    let missing: Vec<&str> =
        entries.iter().filter(|(_, entry)| entry.pytorch.is_none()).map(|(name, _)| *name).collect();
    assert!(missing.is_empty(), "src/check/pytorch.rs lacks {missing:?}");
    let stale: Vec<&str> = pytorch::listed().filter(|name| !entries.contains_key(name)).collect();
    assert!(stale.is_empty(), "src/check/pytorch.rs lists {stale:?}, which the registry does not know");
}
