fn main() {}
#[test]
fn psec() {
    use passerelle::{diagnostic::Source, translate::mapping::Table};
    for f in ["psec"] {
        let name = format!("mappings/{f}.toml");
        let text = std::fs::read_to_string(&name).unwrap();
        let s = std::sync::Arc::new(Source { name, text });
        match Table::compile(&[s], &Default::default()) {
            Ok(t) => println!("{} rows", t.commands().len()),
            Err(f) => { for x in f { println!("{x}\n") } panic!() }
        }
    }
}
