//! One file in the making: row groups under a temporary name, then, whole and on disk, its visible name.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parquet::{
    arrow::ArrowSchemaConverter,
    errors::{ParquetError, Result},
    file::{
        properties::WriterProperties,
        reader::{FileReader, SerializedFileReader},
        writer::SerializedFileWriter,
    },
};

use super::{
    LakeSettings,
    column::Waiting,
    encode::{Arrangement, Scratch, write_row_group},
    schema::SharedSchema,
};

/// Names that begin so are not part of the lake.
pub const TEMPORARY: &str = ".tmp-";

/// An open file.
pub struct Part {
    directory: PathBuf,
    temporary: PathBuf,
    file: SerializedFileWriter<BufWriter<File>>,
}

/// What became of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Where the rows are.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// The file was there before, with the same rows.
    pub existed: bool,
}

impl Part {
    /// Begins a file in `directory`, which is made when it is missing.
    pub fn create(
        directory: PathBuf,
        temporary_name: &str,
        schema: &SharedSchema,
        properties: Arc<WriterProperties>,
    ) -> Result<Self> {
        create_directories(&directory)?;
        let temporary = directory.join(format!("{TEMPORARY}{temporary_name}"));
        let out = BufWriter::with_capacity(1 << 18, File::create(&temporary)?);
        let parquet = ArrowSchemaConverter::new().convert(schema)?;
        let file = SerializedFileWriter::new(out, parquet.root_schema_ptr(), properties)?;
        Ok(Self { directory, temporary, file })
    }

    /// Appends the waiting rows, sorted.
    pub fn append(
        &mut self,
        waiting: &Waiting,
        arrangement: &Arrangement,
        settings: &LakeSettings,
        scratch: &mut Vec<Scratch>,
    ) -> Result<()> {
        write_row_group(&mut self.file, waiting, arrangement, settings, scratch)
    }

    /// Completes the file and gives it its name, of which `before` is told when the file is on disk. A whole file of that name with as
    /// many rows is left as it is.
    pub fn finish(mut self, id: &str, before: &mut dyn FnMut(&Path) -> io::Result<()>) -> Result<Finished> {
        let finished = self.complete(id, before);
        if finished.as_ref().map_or(true, |finished| finished.existed) {
            self.discard();
        }
        finished
    }

    /// LAKE-1: whole and on disk first, then visible.
    fn complete(&mut self, id: &str, before: &mut dyn FnMut(&Path) -> io::Result<()>) -> Result<Finished> {
        let rows = self.file.finish()?.file_metadata().num_rows();
        let path = self.directory.join(format!("{id}.parquet"));
        if rows_of(&path) == Some(rows) {
            let bytes = fs::metadata(&path)?.len();
            return Ok(Finished { path, bytes, existed: true });
        }
        self.file.inner_mut().flush()?;
        let file = self.file.inner().get_ref();
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        before(&path)?;
        fs::rename(&self.temporary, &path)?;
        let synced = File::open(&self.directory).and_then(|directory| directory.sync_all());
        if let Err(error) = synced
            && fs::remove_file(&path).is_ok()
        {
            // Not known to stay: the rows are said to be lost, so they must not be there.
            return Err(error.into());
        }
        Ok(Finished { path, bytes, existed: false })
    }

    /// Removes the temporary file. What is already visible is not touched.
    pub fn discard(self) {
        let Self { temporary, file, .. } = self;
        drop(file);
        let _ = fs::remove_file(temporary);
    }

    /// Where the rows go.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Rows of a whole Parquet file; `None` when it is missing or not whole.
pub fn rows_of(path: &Path) -> Option<i64> {
    let reader = SerializedFileReader::new(File::open(path).ok()?).ok()?;
    Some(reader.metadata().file_metadata().num_rows())
}

/// Makes missing directories, each known to its parent on disk before anything is put into it.
fn create_directories(directory: &Path) -> Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let Some(parent) = directory.parent() else {
        return Err(ParquetError::General(format!("{} has no parent", directory.display())));
    };
    create_directories(parent)?;
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        _ => {}
    }
    File::open(parent)?.sync_all()?;
    Ok(())
}
