//! What the command line answers. `TRYCMD=overwrite cargo test` writes the expectations anew.

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_answers_as_documented() {
        let cases = trycmd::TestCases::new();
        cases.env("COLUMNS", "100").env("NO_COLOR", "1").case("tests/cmd/*.trycmd");
    }
}
